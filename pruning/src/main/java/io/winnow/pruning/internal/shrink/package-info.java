/**
 * Narrowing and repair, layer by layer: the full model and the one that is cut run side by side,
 * and the last matrices of what is left are fitted to what was lost.
 */
@NullMarked
package io.winnow.pruning.internal.shrink;

import org.jspecify.annotations.NullMarked;
