/**
 * Token generation with a key/value cache.
 *
 * <pre>{@code
 * try (Model model = MoeModels.load(folder);
 *     TextTokenizer tokenizer = TextTokenizer.open(folder)) {
 *   Generator generator = Generator.of(model).withTokenizer(tokenizer);
 *   GenerationConfig config =
 *       GenerationConfig.builder(100).optTemperature(0.7).optTopP(0.9).optSeed(1).build();
 *   generator.generate(
 *       "Once upon a time",
 *       config,
 *       (sequence, token, text) -> {
 *         System.out.print(text);
 *         return true; // Go on.
 *       });
 * }
 * }</pre>
 */
@NullMarked
package io.winnow.core.generate;

import org.jspecify.annotations.NullMarked;
