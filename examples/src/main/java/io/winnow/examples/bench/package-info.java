/** The command {@code winnow bench}: measurements against the usual way, in the same run. */
@NullMarked
package io.winnow.examples.bench;

import org.jspecify.annotations.NullMarked;
