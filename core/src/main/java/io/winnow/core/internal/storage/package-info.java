/** What reads decoders from checkpoint folders, whole or layer by layer, and writes them back. */
@NullMarked
package io.winnow.core.internal.storage;

import org.jspecify.annotations.NullMarked;
