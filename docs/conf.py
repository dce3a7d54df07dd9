"""Sphinx: Markdown pages, a reference from the docstrings, and two pages from the program itself."""

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # reading the annotations may import keras, which logs
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import pretrained_cnn

project = "pretrained_cnn"
author = "the pretrained_cnn authors"
project_copyright = author
version = release = pretrained_cnn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "gallery",
    "generated_pages",
    "whole_api",
]
exclude_patterns = ["_build", "_generated", "reference/_generated"]

html_theme = "furo"
html_title = f"pretrained_cnn {release}"
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["deflist"]  # the glossary
myst_heading_anchors = 3

default_role = "py:obj"  # `name` in a docstring links to the name
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"NDArray": "NDArray"}  # not what it stands for
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False

nitpicky = True
# Types of other projects: linking them takes their inventories, and this build uses no network.
nitpick_ignore_regex = [
    (r"py:class", r"(collections\.abc|Image|keras|matplotlib|np|numpy|os|pa|pandas|pathlib|pd|PIL|ray)\..+"),
    (r"py:class", r"Axes|Figure"),
    (r"py:class", r"NDArray"),
    # Ours, not documented by themselves: what they are stands in the text.
    (r"py:class", r"Calibrated|Dtype|HeatMapMethod|Output|Precision|Status|Trained|Engine"),
    (r"py:class", r"Backbone|(pretrained_cnn\.bundle\.store\.)?Bundle|(pretrained_cnn\.images\.batch\.)?Batch"),
    (r"py:class", r"Explainer|HasEngine|Progress|(pretrained_cnn\.images\.sources\.)?Item"),
    (r"py:class", r"pretrained_cnn\.(results\.stream|spec)\.(T|Origin)"),
    # Ours, as the text of each argument says.
    (r"py:class", r"ImageLike|ImagesLike|LabeledImages|Model|SupportsArray|SupportsItems|Sources"),
]

_sentences: dict[str, list[str]] = {}


def hide(app, what, name, obj, options, lines):
    """Keep an attribute's sentence from napoleon, which takes the words before a colon for a type."""
    if what in ("attribute", "property"):
        _sentences[name] = lines[:]
        lines.clear()


def show(app, what, name, obj, options, lines):
    """Bring it back."""
    if name in _sentences:
        lines[:] = _sentences.pop(name)


def setup(app):
    app.connect("autodoc-process-docstring", hide, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", show, priority=600)
