package io.winnow.examples.cli.measure;

import ai.djl.Model;
import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.evaluate.Evaluator;
import io.winnow.core.evaluate.LogLikelihood;
import io.winnow.core.evaluate.MultipleChoiceQuestion;
import io.winnow.core.evaluate.MultipleChoiceResult;
import io.winnow.core.evaluate.OpenQuestion;
import io.winnow.core.evaluate.OpenResult;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.task.TaskPlan;
import java.util.List;
import java.util.Locale;

/** Asks a model the questions of a task, and shows the result as a table and as JSON. */
final class TaskTable {
  private TaskTable() {}

  /** Evaluates a model, prints a table, and returns the result for a file. */
  static JsonObject evaluate(TaskPlan plan, Model model, TextTokenizer tokenizer) {
    Evaluator evaluator = plan.evaluator(model, tokenizer);
    return plan.questions().get(0) instanceof MultipleChoiceQuestion
        ? choices(plan, evaluator)
        : open(plan, evaluator);
  }

  private static JsonObject choices(TaskPlan plan, Evaluator evaluator) {
    List<MultipleChoiceQuestion> questions = plan.choices();
    MultipleChoiceResult result =
        evaluator.evaluate(
            evaluator.prepareChoices(questions, plan.fewShot()), new ConsoleProgress());
    JsonObject json = new JsonObject();
    json.addProperty("questions", questions.size());
    header(questions.size());
    measure(json, "acc", result.accuracy(), result.standardError(result.accuracy()));
    double byCharacter = result.accuracyByCharacter();
    measure(json, "acc_norm", byCharacter, result.standardError(byCharacter));
    double byByte = result.accuracyByByte();
    measure(json, "acc_bytes", byByte, result.standardError(byByte));
    JsonArray answers = new JsonArray();
    for (MultipleChoiceResult.Answer answer : result.answers()) {
      JsonObject one = new JsonObject();
      one.addProperty("answer", answer.question().answer());
      one.addProperty("chosen", answer.chosen());
      one.addProperty("chosen_norm", answer.chosenByCharacter());
      JsonArray likelihoods = new JsonArray();
      answer.choices().stream().map(LogLikelihood::logLikelihood).forEach(likelihoods::add);
      one.add("log_likelihoods", likelihoods);
      answers.add(one);
    }
    json.add("answers", answers);
    return json;
  }

  private static JsonObject open(TaskPlan plan, Evaluator evaluator) {
    List<OpenQuestion> questions = plan.open();
    OpenResult result =
        evaluator.evaluate(
            evaluator.prepareOpen(questions, plan.fewShot()),
            plan.config(),
            plan.matcher(),
            new ConsoleProgress());
    JsonObject json = new JsonObject();
    json.addProperty("questions", questions.size());
    header(questions.size());
    measure(json, "exact_match", result.exactMatch(), result.standardError(result.exactMatch()));
    System.out.printf(Locale.ROOT, "%-12s  %8.4f%n", "f1", result.f1());
    json.addProperty("f1", result.f1());
    JsonArray answers = new JsonArray();
    for (OpenResult.Answer answer : result.answers()) {
      JsonObject one = new JsonObject();
      one.addProperty("text", answer.text());
      one.addProperty("extracted", answer.extracted().orElse(null));
      one.addProperty("exact", answer.exact());
      one.addProperty("f1", answer.f1());
      answers.add(one);
    }
    json.add("answers", answers);
    return json;
  }

  private static void header(int questions) {
    System.out.printf(
        "%-12s  %8s  %8s   (%d questions)%n", "measure", "value", "std. err.", questions);
  }

  private static void measure(JsonObject json, String name, double value, double error) {
    System.out.printf(Locale.ROOT, "%-12s  %8.4f  %8.4f%n", name, value, error);
    json.addProperty(name, value);
    json.addProperty(name + "_stderr", error);
  }
}
