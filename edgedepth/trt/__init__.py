"""TensorRT behind one narrow adapter, for the exporter that builds engines and the runtime that runs them."""
