/** The operations as TorchScript methods, for inference in any type. */
@NullMarked
package io.winnow.core.internal.kernel.fused;

import org.jspecify.annotations.NullMarked;
