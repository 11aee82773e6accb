/** Safetensors files: headers checked before memory is taken, tensors read by mapping. */
@NullMarked
package io.winnow.core.internal.safetensors;

import org.jspecify.annotations.NullMarked;
