/** Arrays of PyTorch as the kernels see them, and methods in TorchScript. */
@NullMarked
package io.winnow.core.internal.kernel.array;

import org.jspecify.annotations.NullMarked;
