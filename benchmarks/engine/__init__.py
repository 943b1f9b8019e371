"""What `fastscnn-bench` does with a TensorRT engine: stages by CUDA events, layers, the plain engine beside it."""

__all__: list[str] = []
