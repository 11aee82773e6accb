/** Commands that search and train: by evolution, alone or on several machines, or by gradients. */
@NullMarked
package io.winnow.examples.cli.train;

import org.jspecify.annotations.NullMarked;
