/** The page that {@code winnow report} writes: what is to be seen, section by section. */
@NullMarked
package io.winnow.examples.report;

import org.jspecify.annotations.NullMarked;
