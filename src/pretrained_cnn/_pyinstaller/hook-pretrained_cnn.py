"""PyInstaller's hook: the data files, and the modules that are named in strings only."""

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs, collect_submodules, copy_metadata

datas = collect_data_files("pretrained_cnn") + copy_metadata("pretrained-cnn")
hiddenimports = collect_submodules("pretrained_cnn", filter=lambda name: "_pyinstaller" not in name)

binaries = []
if find_spec("openvino"):  # it looks for its plugins by name, and on Linux these end in a version
    binaries = collect_dynamic_libs("openvino", search_patterns=["*.dll", "*.dylib", "lib*.so*"])
