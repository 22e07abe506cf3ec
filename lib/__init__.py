"""The library that chapters call: one folder a family, small modules, one job each; each folder
says what it may import."""

import warnings

# tqdm says so in every notebook without ipywidgets; plain bars are what the book wants.
warnings.filterwarnings("ignore", message="IProgress not found")
