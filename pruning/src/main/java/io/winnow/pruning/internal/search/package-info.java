/** Search for the experts of a layer that stay, on its table of inner products. */
@NullMarked
package io.winnow.pruning.internal.search;

import org.jspecify.annotations.NullMarked;
