"""Tools around datasets: cut, downscale, look through, compare and recolour folders of images, and read videos."""
