// All kernels in one module.
#include "decode.cu"
#include "preprocess.cu"
