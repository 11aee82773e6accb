/** Text, chat and token files to sequences of token ids, which a model is run over. */
@NullMarked
package io.winnow.core.calibration;

import org.jspecify.annotations.NullMarked;
