/** Benchmarks of loading and generating. */
@NullMarked
package io.winnow.examples.bench.speed;

import org.jspecify.annotations.NullMarked;
