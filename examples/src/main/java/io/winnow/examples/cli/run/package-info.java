/** Commands that run a model. */
@NullMarked
package io.winnow.examples.cli.run;

import org.jspecify.annotations.NullMarked;
