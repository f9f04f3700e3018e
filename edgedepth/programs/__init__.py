"""From a frame to metres: pyramid, tiles, micro-batches, fusion, decoding. numpy and OpenCV only."""
