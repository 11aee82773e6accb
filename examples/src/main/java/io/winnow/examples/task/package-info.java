/** Text and questions that models are judged by, and the options that name them. */
@NullMarked
package io.winnow.examples.task;

import org.jspecify.annotations.NullMarked;
