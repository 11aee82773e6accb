/** Turns tensors of a checkpoint into weights on a device. */
@NullMarked
package io.winnow.core.internal.kernel.read;

import org.jspecify.annotations.NullMarked;
