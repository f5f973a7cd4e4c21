"""From a dataset's photographs to square pictures of one size, with the way back to the original pixels recorded."""
