/** The page that {@code winnow report} writes: charts, tables and what is to be seen in them. */
@NullMarked
package io.winnow.examples.report;

import org.jspecify.annotations.NullMarked;
