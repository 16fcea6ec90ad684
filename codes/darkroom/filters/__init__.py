"""Pure image functions: resizing, colour, blurring."""
