package io.winnow.core.evaluate;

import ai.djl.Model;
import ai.djl.util.Progress;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LanguageModel;
import io.winnow.core.MoeModel;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.environment.SilentProgress;
import io.winnow.core.internal.scoring.ContinuationScoring;
import io.winnow.core.internal.scoring.ContinuationSums;
import io.winnow.core.internal.scoring.Continuations;
import io.winnow.core.internal.scoring.PairEncoder;
import io.winnow.core.internal.scoring.PrefixToken;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalLong;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;

/**
 * Measures a model on tasks: log-likelihoods of continuations, multiple choice by them, and
 * generated answers.
 *
 * <p>Log-likelihoods are those of lm-evaluation-harness 0.4.13 (EleutherAI): the same tokens, the
 * same windows. What several sequences begin with is computed once, if the model was loaded by
 * {@code MoeModels}: a question's context for all its choices, and the examples before all
 * questions. Any other model whose block takes token ids {@code [sequences, length]} and returns
 * logits {@code [sequences, length, vocabulary]} is computed sequence by sequence.
 *
 * <p>Preparing a task cuts it into tokens and needs only the tokenizer; a prepared task can be
 * evaluated many times, while the model's experts change in between. The same model, task and batch
 * give the same result.
 *
 * <p>Immutable, and as thread-safe as the model. Model and tokenizer stay the caller's to close.
 */
public final class Evaluator {
  private static final int DEFAULT_BATCH = 16;

  private final Model model;
  private final MoeModel moe;
  private final @Nullable TextTokenizer tokenizer;
  private final OptionalLong prefixToken;
  private final int batch;
  private final int maxLength;
  private final boolean sharing;

  private Evaluator(
      Model model,
      @Nullable TextTokenizer tokenizer,
      OptionalLong prefixToken,
      int batch,
      int maxLength,
      boolean sharing) {
    this.model = model;
    this.moe = MoeModel.of(model);
    this.tokenizer = tokenizer;
    this.prefixToken = prefixToken;
    this.batch = batch;
    this.maxLength = maxLength;
    this.sharing = sharing;
  }

  /**
   * Creates an evaluator of token ids.
   *
   * @throws InvalidInputException if the model's block is no {@link MoeModel}
   */
  public static Evaluator of(Model model) {
    int positions = MoeModel.of(model).maxPositions();
    return new Evaluator(model, null, OptionalLong.empty(), DEFAULT_BATCH, positions, true);
  }

  /**
   * Creates an evaluator of text. A text without context is conditioned on the {@code bos_token} of
   * the checkpoint's tokenizer_config.json, else its {@code eos_token}.
   *
   * @param model a model loaded by {@code MoeModels}; or another, with {@link #withPrefixToken}
   * @param tokenizer the model's; it stays open as long as the evaluator is used
   * @throws InvalidInputException if the model's block is no {@link MoeModel}, or
   *     tokenizer_config.json is damaged
   */
  public static Evaluator of(Model model, TextTokenizer tokenizer) {
    OptionalLong prefix =
        model.getBlock() instanceof LanguageModel languageModel
            ? PrefixToken.of(languageModel.sourceFolder(), tokenizer)
            : OptionalLong.empty();
    int positions = MoeModel.of(model).maxPositions();
    return new Evaluator(model, tokenizer, prefix, DEFAULT_BATCH, positions, true);
  }

  /** Returns an evaluator that conditions a text without context on this token. */
  public Evaluator withPrefixToken(long token) {
    return new Evaluator(model, tokenizer, OptionalLong.of(token), batch, maxLength, sharing);
  }

  /**
   * Returns an evaluator that computes this many questions together; 16 by default. Memory grows
   * with it, and results may differ in the last digits.
   *
   * @throws InvalidInputException if it is less than 1
   */
  public Evaluator withBatch(int questions) {
    if (questions < 1) {
      throw new InvalidInputException("A batch of " + questions + " is none; use at least 1");
    }
    return new Evaluator(model, tokenizer, prefixToken, questions, maxLength, sharing);
  }

  /**
   * Returns an evaluator that cuts sequences at this many tokens; the model's positions by default.
   * Contexts lose their beginning.
   *
   * @throws InvalidInputException if it is less than 1 or more than the model's positions
   */
  public Evaluator withMaxLength(int tokens) {
    if (tokens < 1 || tokens > moe.maxPositions()) {
      throw new InvalidInputException(
          String.format(
              "Sequences of %d tokens are wanted, but the model has %d positions; use 1 to %d",
              tokens, moe.maxPositions(), moe.maxPositions()));
    }
    return new Evaluator(model, tokenizer, prefixToken, batch, tokens, sharing);
  }

  /** For comparison: computes every sequence as a whole. */
  Evaluator withoutSharing() {
    return new Evaluator(model, tokenizer, prefixToken, batch, maxLength, false);
  }

  /**
   * Computes how likely a continuation is. Blanks at the context's end are counted to the
   * continuation; an empty context is the prefix token.
   *
   * @throws InvalidInputException if there is no tokenizer, or no prefix token where one is needed,
   *     or the continuation has no tokens or more than fit the model
   */
  public LogLikelihood logLikelihood(String context, String continuation) {
    return logLikelihoods(context, List.of(continuation)).get(0);
  }

  /**
   * Computes how likely several continuations of one context are; otherwise like {@link
   * #logLikelihood}.
   */
  public List<LogLikelihood> logLikelihoods(String context, List<String> continuations) {
    return score(List.of(encoder().encode(context, continuations)), null).get(0);
  }

  /**
   * Computes how likely several continuations of one context are, all of them token ids.
   *
   * @param context at least one token; its beginning is cut off where the whole does not fit
   * @param continuations at least one token each
   * @throws InvalidInputException if one is empty, has an id outside the vocabulary, or does not
   *     fit the model
   * @throws CancellationException if the thread is interrupted; it remains so
   */
  public List<LogLikelihood> logLikelihoods(long[] context, List<long[]> continuations) {
    List<long[]> copies = continuations.stream().map(long[]::clone).toList();
    return score(List.of(new Continuations(context.clone(), copies)), null).get(0);
  }

  /**
   * Computes the log-likelihood of a whole text, behind the prefix token, in windows of the
   * greatest length that overlap in one token; only the last window looks back further.
   *
   * @return the sum over all tokens, in nats; 0 for an empty text
   * @throws InvalidInputException if there is no tokenizer or no prefix token
   * @throws CancellationException if the thread is interrupted; it remains so
   */
  public double logLikelihoodRolling(String text) {
    return logLikelihoodRolling(encoder().encode(text));
  }

  /** Computes the log-likelihood of token ids; otherwise like the other. */
  public double logLikelihoodRolling(long[] tokens) {
    List<Continuations> windows = new ArrayList<>();
    for (int from = 0; from < tokens.length; from += maxLength) {
      int to = Math.min(tokens.length, from + maxLength);
      long[] context =
          from == 0
              ? new long[] {PairEncoder.require(prefixToken)}
              : Arrays.copyOfRange(tokens, to - maxLength - 1, from);
      windows.add(new Continuations(context, List.of(Arrays.copyOfRange(tokens, from, to))));
    }
    if (windows.isEmpty()) {
      return 0;
    }
    return score(windows, null).stream().mapToDouble(window -> window.get(0).logLikelihood()).sum();
  }

  /**
   * Cuts multiple-choice questions into tokens.
   *
   * @param questions at least one
   * @param fewShot what is put before every context, see {@link Question#fewShot}; empty for
   *     nothing
   * @throws InvalidInputException if there is no question, no tokenizer, or no prefix token where
   *     one is needed
   */
  public MultipleChoiceTask prepareChoices(List<MultipleChoiceQuestion> questions, String fewShot) {
    requireQuestions(questions);
    PairEncoder encoder = encoder();
    List<Continuations> tokens = new ArrayList<>();
    for (MultipleChoiceQuestion question : questions) {
      tokens.add(encoder.encode(fewShot + question.context(), question.choices()));
    }
    return new MultipleChoiceTask(questions, tokens);
  }

  /** Answers multiple-choice questions; see {@link #evaluate(MultipleChoiceTask, Progress)}. */
  public MultipleChoiceResult evaluate(MultipleChoiceTask task) {
    return evaluate(task, null);
  }

  /**
   * Answers multiple-choice questions by the likelihood of each choice behind the context.
   *
   * @param progress is told of the questions that are done; may be null
   * @throws InvalidInputException if a choice has no tokens, more than fit the model, or the task
   *     was prepared with another vocabulary
   * @throws CancellationException if the thread is interrupted; it remains so
   */
  public MultipleChoiceResult evaluate(MultipleChoiceTask task, @Nullable Progress progress) {
    List<List<LogLikelihood>> scores = score(task.tokens(), progress);
    List<MultipleChoiceResult.Answer> answers = new ArrayList<>();
    for (int i = 0; i < scores.size(); i++) {
      answers.add(MultipleChoiceResult.Answer.of(task.questions().get(i), scores.get(i)));
    }
    return new MultipleChoiceResult(answers);
  }

  /**
   * Cuts the prompts of open questions into tokens.
   *
   * @param questions at least one
   * @param fewShot what is put before every prompt, see {@link Question#fewShot}; empty for nothing
   * @throws InvalidInputException if there is no question or no tokenizer
   */
  public OpenTask prepareOpen(List<OpenQuestion> questions, String fewShot) {
    requireQuestions(questions);
    PairEncoder encoder = encoder();
    List<long[]> prompts = new ArrayList<>();
    for (OpenQuestion question : questions) {
      prompts.add(encoder.encode(fewShot + question.prompt()));
    }
    return new OpenTask(questions, prompts);
  }

  /**
   * Answers open questions; see {@link #evaluate(OpenTask, GenerationConfig, AnswerMatcher,
   * Progress)}.
   */
  public OpenResult evaluate(OpenTask task, GenerationConfig config, AnswerMatcher matcher) {
    return evaluate(task, config, matcher, null);
  }

  /**
   * Answers open questions by generating text. A prompt loses its beginning where the answer would
   * not fit behind it.
   *
   * @param config the greatest length of an answer and where it ends; greedy
   * @param matcher decides what is right
   * @param progress is told of the questions that are done; may be null
   * @throws InvalidInputException if the model was not loaded by {@code MoeModels}, there is no
   *     tokenizer, tokens are to be drawn, or no position is left for a prompt
   * @throws CancellationException if the thread is interrupted; it remains so
   */
  public OpenResult evaluate(
      OpenTask task, GenerationConfig config, AnswerMatcher matcher, @Nullable Progress progress) {
    return new OpenAnswers(Generator.of(model).withTokenizer(requireTokenizer()), maxLength, batch)
        .to(task, config, matcher, SilentProgress.unless(progress));
  }

  private List<List<LogLikelihood>> score(List<Continuations> groups, @Nullable Progress progress) {
    ContinuationSums sums =
        new ContinuationScoring(model, maxLength, batch, sharing)
            .score(groups, SilentProgress.unless(progress));
    List<List<LogLikelihood>> results = new ArrayList<>();
    for (int group = 0; group < groups.size(); group++) {
      List<LogLikelihood> likelihoods = new ArrayList<>();
      for (int i = 0; i < groups.get(group).continuations().size(); i++) {
        likelihoods.add(new LogLikelihood(sums.logLikelihood(group, i), sums.isGreedy(group, i)));
      }
      results.add(List.copyOf(likelihoods));
    }
    return results;
  }

  private static void requireQuestions(List<? extends Question> questions) {
    if (questions.isEmpty()) {
      throw new InvalidInputException("There are no questions; give at least one");
    }
  }

  private TextTokenizer requireTokenizer() {
    if (tokenizer == null) {
      throw new InvalidInputException(
          "Text needs a tokenizer; give it by Evaluator.of(model, tokenizer), or use token ids");
    }
    return tokenizer;
  }

  private PairEncoder encoder() {
    return new PairEncoder(requireTokenizer(), prefixToken);
  }
}
