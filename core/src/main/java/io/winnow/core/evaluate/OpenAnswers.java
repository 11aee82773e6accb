package io.winnow.core.evaluate;

import ai.djl.util.Progress;
import io.winnow.core.InvalidInputException;
import io.winnow.core.generate.Generation;
import io.winnow.core.generate.GenerationConfig;
import io.winnow.core.generate.Generator;
import io.winnow.core.internal.scoring.Continuations;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;

/** Answers open questions by generating text, prompts of about the same length together. */
final class OpenAnswers {
  private final Generator generator;
  private final int maxLength;
  private final int batch;

  OpenAnswers(Generator generator, int maxLength, int batch) {
    this.generator = generator;
    this.maxLength = maxLength;
    this.batch = batch;
  }

  OpenResult to(OpenTask task, GenerationConfig config, AnswerMatcher matcher, Progress progress) {
    List<long[]> prompts = new ArrayList<>();
    List<Integer> order = new ArrayList<>();
    int room = room(config);
    for (long[] prompt : task.prompts()) {
      order.add(prompts.size());
      prompts.add(new Continuations(prompt, List.of()).lastOfContext(room));
    }
    order.sort(Comparator.comparingInt(i -> prompts.get(i).length));
    OpenResult.Answer[] answers = new OpenResult.Answer[prompts.size()];
    progress.reset("Evaluating", prompts.size());
    for (int from = 0; from < answers.length; from += batch) {
      List<Integer> part = order.subList(from, Math.min(answers.length, from + batch));
      List<Generation> texts = generator.generate(part.stream().map(prompts::get).toList(), config);
      for (int i = 0; i < part.size(); i++) {
        int question = part.get(i);
        answers[question] =
            matcher.judge(task.questions().get(question), texts.get(i).text().orElse(""));
      }
      progress.increment(part.size());
    }
    progress.end();
    return new OpenResult(Arrays.asList(answers));
  }

  /** Returns how many tokens a prompt may have. */
  private int room(GenerationConfig config) {
    if (config.temperature() > 0) {
      throw new InvalidInputException(
          "Answers are generated greedily, but the temperature is "
              + config.temperature()
              + "; leave it at 0");
    }
    int room = maxLength - config.maxTokens();
    if (room < 1) {
      throw new InvalidInputException(
          String.format(
              "Answers of %d tokens leave no room for a prompt in sequences of %d; ask for fewer",
              config.maxTokens(), maxLength));
    }
    return room;
  }
}
