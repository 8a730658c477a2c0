"""Configuration of the documentation site, which `make docs` builds into docs/_build/html."""

from hmmn_jax.version import __version__

project = "hmmn-jax"
author = "the authors of hmmn-jax"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

default_role = "literal"  # docstrings mark code with single backticks
autodoc_member_order = "bysource"
autoclass_content = "both"
autodoc_typehints = "none"
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

html_theme = "furo"
html_title = f"hmmn-jax {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
