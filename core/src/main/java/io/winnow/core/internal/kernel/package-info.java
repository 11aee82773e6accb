/**
 * The operations a decoder consists of: fused TorchScript methods, and their plain NDArray twins
 * that serve as reference and for training. Arrays in bfloat16 never leave this package.
 */
@NullMarked
package io.winnow.core.internal.kernel;

import org.jspecify.annotations.NullMarked;
