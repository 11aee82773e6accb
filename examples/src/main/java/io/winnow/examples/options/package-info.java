/** Options that several commands have, each declared once, as mixins. */
@NullMarked
package io.winnow.examples.options;

import org.jspecify.annotations.NullMarked;
