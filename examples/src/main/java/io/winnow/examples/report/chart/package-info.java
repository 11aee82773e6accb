/** Charts as pictures, on light and on dark pages. */
@NullMarked
package io.winnow.examples.report.chart;

import org.jspecify.annotations.NullMarked;
