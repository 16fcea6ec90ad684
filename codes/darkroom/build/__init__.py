"""The composition root: the one place that knows all the others. An option file goes in, a ready run comes out."""
