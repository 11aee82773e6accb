/**
 * The operations as plain NDArray operations: what training differentiates, and what the fused ones
 * are compared with.
 */
@NullMarked
package io.winnow.core.internal.kernel.reference;

import org.jspecify.annotations.NullMarked;
