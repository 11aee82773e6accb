/** Benchmarks of pruning and merging. */
@NullMarked
package io.winnow.examples.bench.pruning;

import org.jspecify.annotations.NullMarked;
