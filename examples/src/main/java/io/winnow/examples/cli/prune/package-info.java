/** Commands that make a model smaller. */
@NullMarked
package io.winnow.examples.cli.prune;

import org.jspecify.annotations.NullMarked;
