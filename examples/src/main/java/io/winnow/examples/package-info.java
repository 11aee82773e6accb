/**
 * Ways of use, each in one file that can be pasted into a project: start with {@link
 * io.winnow.examples.Quickstart}. The rooms beside it hold the command {@code winnow}.
 */
@NullMarked
package io.winnow.examples;

import org.jspecify.annotations.NullMarked;
