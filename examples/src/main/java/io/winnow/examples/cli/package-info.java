/** The command {@code winnow}: its entry, and the commands about a model as it is. */
@NullMarked
package io.winnow.examples.cli;

import org.jspecify.annotations.NullMarked;
