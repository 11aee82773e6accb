/** The command line {@code winnow}, benchmarks, and complete examples of using the library. */
@NullMarked
package io.winnow.examples;

import org.jspecify.annotations.NullMarked;
