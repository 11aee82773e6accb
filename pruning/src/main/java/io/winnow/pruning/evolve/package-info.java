/** EEP: evolutionary search for the experts that stay, and for how the others merge into them. */
@NullMarked
package io.winnow.pruning.evolve;

import org.jspecify.annotations.NullMarked;
