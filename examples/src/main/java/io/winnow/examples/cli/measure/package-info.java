/** Commands that say how good models are, and which of many ways is best. */
@NullMarked
package io.winnow.examples.cli.measure;

import org.jspecify.annotations.NullMarked;
