/** What a report is about: results, read from the files of commands or measured. */
@NullMarked
package io.winnow.examples.report.result;

import org.jspecify.annotations.NullMarked;
