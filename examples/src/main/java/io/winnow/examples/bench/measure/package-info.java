/** What benchmarks have in common: how they are run and shown, seconds, and memory. */
@NullMarked
package io.winnow.examples.bench.measure;

import org.jspecify.annotations.NullMarked;
