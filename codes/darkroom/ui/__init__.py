"""Pages in the browser to try a model by hand."""
