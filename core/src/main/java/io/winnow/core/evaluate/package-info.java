/**
 * Measures of a language model's quality: perplexity, log-likelihoods, multiple choice and
 * generated answers.
 *
 * <pre>{@code
 * System.out.println(Perplexity.of(model, windows).perplexity());
 *
 * Evaluator evaluator = Evaluator.of(model, tokenizer);
 * MultipleChoiceQuestion question =
 *     new MultipleChoiceQuestion("The capital of France is", List.of(" Paris", " Rome"), 0);
 * MultipleChoiceTask task = evaluator.prepareChoices(List.of(question), "");
 * System.out.println(evaluator.evaluate(task).accuracy());
 * }</pre>
 */
@NullMarked
package io.winnow.core.evaluate;

import org.jspecify.annotations.NullMarked;
