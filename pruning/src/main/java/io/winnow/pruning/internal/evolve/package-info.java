/** What an evolutionary search works with: its operators, its surrogate and its journal. */
@NullMarked
package io.winnow.pruning.internal.evolve;

import org.jspecify.annotations.NullMarked;
