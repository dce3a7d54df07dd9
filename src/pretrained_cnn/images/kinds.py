"""The kinds of files that Pillow does not read, detected by their content, and what opens them."""

from __future__ import annotations

import base64
import contextlib
import re
from functools import cache
from importlib.util import find_spec

from pretrained_cnn.errors import install_line

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
JXL_SUFFIXES = frozenset({".jxl"})
HEIF, JXL = ("pillow_heif", "pillow-heif", "heif"), ("pillow_jxl", "pillow-jxl-plugin", "jxl")
"""Module, package and extra."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"miaf")
_AVIF_BRANDS = (b"avif", b"avis")
_TEXT = re.compile(rb"[\t\n\r -~\x80-\xff]*")
_BASE64 = (b"/9j/", b"iVBORw0KGgo", b"R0lGOD", b"UklGR", b"Qk0", b"SUkqA", b"TU0AK")

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF document; make an image of each page first, for example with pdf2image or `pdftoppm -png`"),
    (b"%!PS", "PostScript is a program, not an image; convert it to PNG first"),
    (b"\xc5\xd0\xd3\xc6", "PostScript is a program, not an image; convert it to PNG first"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF), drawn and not of pixels; convert it to PNG first"),
    (b"PK\x03\x04", "a zip archive; give its path, which must end in .zip, to stream or predict_batch"),
    (b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (b"BZh", "compressed by bzip2; unpack it first"),
    (b"\xfd7zXZ\0", "compressed by xz; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM); take frames out of it first, for example with OpenCV or ffmpeg"),
    (b"\0\0\x01\xba", "a video (MPEG); take frames out of it first, for example with OpenCV or ffmpeg"),
    (b"\0\0\x01\xb3", "a video (MPEG); take frames out of it first, for example with OpenCV or ffmpeg"),
    (b"FLV\x01", "a video (Flash); take frames out of it first, for example with OpenCV or ffmpeg"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (b"II\x1a\0\0\0HEAPCCDR", "a camera's raw file (CRW)"),
    (b"IIRO", "a camera's raw file (ORF)"),
    (b"IIRS", "a camera's raw file (ORF)"),
    (b"MMOR", "a camera's raw file (ORF)"),
    (b"IIU\0", "a camera's raw file (RW2)"),
    (b"FOVb", "a camera's raw file (X3F)"),
    (b"\0MRM", "a camera's raw file (MRW)"),
    (b"\x93NUMPY", "an array that NumPy saved; give numpy.load(...) of it"),
    (b"\x80\x03", "a pickle; load it if you trust it, and give the array in it"),
    (b"\x80\x04\x95", "a pickle; load it if you trust it, and give the array in it"),
    (b"\x80\x05\x95", "a pickle; load it if you trust it, and give the array in it"),
    (b"MATLAB 5.0", "a MATLAB file; give the array that scipy.io.loadmat finds in it"),
    (b"PAR1", "a Parquet file; give the images in it, for example with pyarrow.parquet.read_table"),
    (b"ARROW1", "an Arrow file; give the images in it, for example with pyarrow.feather.read_table"),
    (b"SQLite format 3", "an SQLite database; give the images in it"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file; give the array in it"),
    (b"v/1\x01", "an OpenEXR image; give the array that OpenCV or imageio makes of it, in 0 to 255"),
    (b"#?RGBE", "a Radiance HDR image; give the array that OpenCV or imageio makes of it, in 0 to 255"),
    (b"#?RADIANCE", "a Radiance HDR image; give the array that OpenCV or imageio makes of it, in 0 to 255"),
    (b"gimp xcf", "a GIMP document; export it as PNG"),
    (b"8BPS\0\2", "a large Photoshop document (PSB); export it as PNG, or save it as PSD"),
    (b"AT&TFORM", "a DjVu document; make an image of each page first, for example with `ddjvu -format=tiff`"),
    (
        b"II\xbc\x01",
        "a JPEG XR image, which Pillow does not read; convert it to PNG, or give imagecodecs.jpegxr_decode of it",
    ),
    (b"BPG\xfb", "a BPG image, which Pillow does not read; convert it to PNG, for example with bpgdec"),
    (b"FLIF", "a FLIF image, which Pillow does not read; convert it to PNG"),
    (b"\x8aMNG", "an animation (MNG), which Pillow does not read; convert it to PNG"),
    (b"\x8bJNG", "a JNG image, which Pillow does not read; convert it to PNG"),
    (b"\xabKTX ", "a texture (KTX), which Pillow does not read; convert it to PNG"),
    (b"PF\n", "a PFM image in color, which Pillow does not read; give the array that OpenCV makes of it, in 0 to 255"),
    (b"P7\n", "a PAM image, which Pillow does not read; convert it to PNG"),
    (b"version https://git-lfs.github.com/spec/", "a pointer of Git LFS, not the image; fetch it with `git lfs pull`"),
    (b"{\\rtf", "a text document (RTF)"),
    (b"ID3", "a sound (MP3), not an image"),
    (b"OggS", "a sound or video (Ogg); take frames out of it first, for example with OpenCV or ffmpeg"),
    (b"fLaC", "a sound (FLAC), not an image"),
)
_IMAGES = (
    (b"GIF8", "a GIF"),
    (b"\x89PNG", "a PNG"),
    (b"\0\0\0\x0cjP", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"BM", "a BMP"),
    (b"8BPS\0\1", "a PSD"),
    (b"qoif", "a QOI"),
    (b"DDS ", "a DDS"),
    (b"\0\0\1\0", "an ICO"),
    (b"P5", "a PGM"),
    (b"P6", "a PPM"),
)
"""How files begin that Pillow reads if they are whole."""
_RAW = "; export it as JPEG or TIFF, or give the array that rawpy makes of it"


@cache
def has(module: str) -> bool:
    """Whether an optional package is installed."""
    return find_spec(module) is not None


def reason_of(data: bytes) -> str | None:
    """What a file is and what opens it, in a sentence; None if it may be an image, or is of no known kind.

    >>> reason_of(b"%PDF-1.7")
    'this is a PDF document; make an image of each page first, for example with pdf2image or `pdftoppm -png`'
    """
    kind = _kind(data)
    return kind if kind is None or kind.startswith("PostScript") else f"this is {kind}"


def known_kind(data: bytes) -> str | None:
    """The kind of image that a file is by its first bytes, even if it is cut or broken.

    >>> known_kind(b"GIF89a")
    'a GIF'
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "a WebP"
    if data[4:8] == b"ftyp":
        return "an HEIC" if _brands(data).isdisjoint(_AVIF_BRANDS) else "an AVIF"
    return next((kind for start, kind in _IMAGES if data.startswith(start)), None)


def _brands(data: bytes) -> set[bytes]:
    size = min(int.from_bytes(data[:4]), 256)
    return {data[8:12], *(data[place : place + 4] for place in range(16, size, 4))}


def _kind(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return _of_boxes(data)
    if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return _missing("a JPEG XL image", JXL)
    if data[:4] in (b"II*\0", b"MM\0*") and data[8:10] == b"CR":
        return "a camera's raw file (CR2)" + _RAW
    if data[128:132] == b"DICM":
        return "a DICOM file; give pydicom's pixel_array, scaled to 0 to 255"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "a video (AVI); take frames out of it first, for example with OpenCV or ffmpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "a sound (WAV), not an image"
    if data[344:348] in (b"n+1\0", b"ni1\0"):
        return "a NIfTI volume; give slices of the array that nibabel makes of it, scaled to 0 to 255"
    if data[:4] == b"\x01\0\0\0" and data[40:44] == b" EMF":
        return "a Windows metafile (EMF), drawn and not of pixels; convert it to PNG first"
    for prefix, kind in _PREFIXES:
        if data.startswith(prefix):
            return kind + _RAW if "raw file" in kind else kind
    return _of_text(data)


def _of_boxes(data: bytes) -> str | None:
    """A file of ISO's base media format, by its brands."""
    brands = _brands(data)
    if not brands.isdisjoint(_AVIF_BRANDS):
        return None
    if not brands.isdisjoint(_HEIF_BRANDS):
        return _missing("an HEIC image", HEIF)
    if data[8:12] == b"crx ":
        return "a camera's raw file (CR3)" + _RAW
    return "a video (MP4 or MOV); take frames out of it first, for example with OpenCV or ffmpeg"


def _missing(what: str, package: tuple[str, str, str]) -> str | None:
    module, name, extra = package
    if has(module):
        return None
    return f"{what}, for which the package {name} is needed: {install_line(name, extra)}"


def _of_text(data: bytes) -> str | None:
    start = data[:2048].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start or not _TEXT.fullmatch(start):
        return None
    lower = start.lower()
    if lower.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, as a server sends it in place of an image; look at it in a browser"
    if b"<svg" in lower and lower.startswith(b"<"):
        return "an SVG drawing, not of pixels; make a PNG of it first, for example with cairosvg or rsvg-convert"
    if lower.startswith(b"<"):
        return "an XML document, not an image"
    if start.startswith(b"data:image/"):
        return "a data: URL in a file; give its text, not the file"
    if start.startswith(_BASE64) and _is_base64(start):
        return "base64 text; give base64.b64decode(...) of it"
    if b"/annex/objects/" in start[:500]:
        return "a pointer of git-annex, not the image; fetch it with `git annex get`"
    return None


def _is_base64(text: bytes) -> bool:
    packed = b"".join(text.split())
    with contextlib.suppress(ValueError):
        return len(base64.b64decode(packed[: len(packed) // 4 * 4], validate=True)) > 8
    return False


def optional_suffixes() -> frozenset[str]:
    """The suffixes of the formats that an optional package reads, where it is installed."""
    return frozenset().union(
        *(suffixes for suffixes, (module, *_) in ((HEIF_SUFFIXES, HEIF), (JXL_SUFFIXES, JXL)) if has(module))
    )


def install_hint(suffix: str) -> str | None:
    """The line that installs what reads files of this suffix, if they are images that nothing installed reads."""
    for suffixes, (module, package, extra) in ((HEIF_SUFFIXES, HEIF), (JXL_SUFFIXES, JXL)):
        if suffix in suffixes and not has(module):
            return install_line(package, extra)
    return None


@cache
def open_optional_formats() -> None:
    """Have Pillow read HEIC by pillow-heif, and JPEG XL by pillow-jxl-plugin, where these are installed."""
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    with contextlib.suppress(ImportError):
        import pillow_jxl  # noqa: F401 - registers itself
