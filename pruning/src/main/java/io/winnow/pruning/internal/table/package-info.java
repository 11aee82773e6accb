/** Tables of inner products of one layer's experts, and the losses that follow from them. */
@NullMarked
package io.winnow.pruning.internal.table;

import org.jspecify.annotations.NullMarked;
