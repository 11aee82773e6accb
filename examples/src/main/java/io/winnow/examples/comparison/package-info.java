/** Many ways of pruning a model side by side: a row each, in a table that survives a kill. */
@NullMarked
package io.winnow.examples.comparison;

import org.jspecify.annotations.NullMarked;
