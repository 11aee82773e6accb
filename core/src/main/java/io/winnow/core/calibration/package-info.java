/**
 * The text that a model is run on: text and token files to equally long sequences of token ids.
 *
 * <pre>{@code
 * try (TextTokenizer tokenizer = TextTokenizer.open(folder)) {
 *   Calibration calibration =
 *       Calibration.builder()
 *           .setDocuments(documents)
 *           .optTokenizer(tokenizer)
 *           .optSequences(64)
 *           .optLength(512)
 *           .build();
 *   System.out.println(calibration.description());
 * }
 * }</pre>
 */
@NullMarked
package io.winnow.core.calibration;

import org.jspecify.annotations.NullMarked;
