"""The library that chapters call: small modules, one job each; CONTRIBUTING.md has the table."""

import warnings

# tqdm says so in every notebook without ipywidgets; plain bars are what the book wants.
warnings.filterwarnings("ignore", message="IProgress not found")
