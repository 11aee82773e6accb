/** Files and folders that commands read and write, looked at before any work is done. */
@NullMarked
package io.winnow.examples.files;

import org.jspecify.annotations.NullMarked;
