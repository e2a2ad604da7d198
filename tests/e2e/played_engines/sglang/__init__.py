"""SGLang, as far as a worker asks it, on the GPU that ``tests/bench/played_gpu`` plays."""
